"""A clinic's data: the folder contract, the split by patient, the cache of decoded images. No torch."""
