"""This clinic's part in secure aggregation: pinned keys of other clinics, the ledger of sums, keys for one attempt."""
