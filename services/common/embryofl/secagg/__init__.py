"""Secure aggregation: the hub learns the sum of the clinics' vectors, and no clinic's vector.

The protocol is that of Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS
2017, https://doi.org/10.1145/3133956.3133982, in its variant against a malicious server, for 3 to 50 clinics, each of
which shares a mask with each other one. This page is its specification. The package computes: no network, files, or
clock.

Who is who
----------
A clinic is its *enrolled key* (ECDSA), which every other clinic has pinned: the hub cannot invent a clinic or speak
for one. An *attempt* is the digest of its roster (`Roster.digest`), which covers the terms (run, round, kind of
request, attempt, model, settings, length, bound) and of each clinic its name, its weight, two X25519 keys and a
commitment. All are made for the attempt and live in memory alone, so a clinic that is restarted has dropped out of
the attempt.

Notation: *n* clinics in the roster; *t* = floor(2 n / 3) + 1, the threshold; H(kind, ...) the SHA-256 of ``embryofl
secagg 1``, the kind and these values; sign(...) an ECDSA signature with SHA-256 by the enrolled key. *Letters* are
one clinic's shares for each clinic, encrypted. *Sharers* are the clinics whose letters were passed on, *survivors*
those whose vectors are in the sum.

Step by step
------------
0. hub -> clinic, `Terms`. The clinic compares run, round, kind and model with the request that it works on, and
   `work` with its settings. It draws two *seeds* of 16 bytes: b, of its own mask, and s, from which the key of its
   pairwise masks is derived.
1. clinic -> hub, `Advert`: name, weight, cells, public mask key, public encryption key, commitment H(seed, b), and
   sign(terms, all of these). An advert is therefore good for one attempt at one round with one model.
2. hub -> clinic, `Roster`: the terms and all adverts. The clinic checks: its own terms and its own advert; every
   other clinic is pinned and has signed for the same terms; each key and each name is there once; at least
   `min_survivors` clinics, and so many that t is at least `min_sum`; its own weight is at most `max_share` of all but
   the heaviest third of the others. It accepts one roster.
3. clinic -> hub, `Letters`: both seeds are split (Shamir, t of n). For each clinic of the roster, itself included,
   two shares are encrypted with AES-256-GCM. The key is HKDF(X25519(encryption keys), salt roster, "letter", sender,
   recipient). Bound to it: roster, sender, recipient, and a commitment H(share, roster, owner, holder, seed, value)
   to each share, which the hub keeps.
4. hub -> clinic, `Letters`: those of all sharers to this clinic, the same sharers for each. The clinic opens them and
   checks the commitments, for at least t sharers (and `min_survivors`). It accepts one set of sharers.
5. clinic -> hub, the masked vector, uint32 (length,): vector + AES-CTR(self key) + sum over the other sharers of
   +-AES-CTR(pair key), modulo 2**32; plus for the clinic whose name comes first. The self key is HKDF(b, salt
   roster), the pair key HKDF(X25519(mask keys), salt roster, both names). One attempt masks one vector.
6. hub -> clinic, `Statement`: roster, sharers, survivors (at least t). The hub first writes it to disk with the
   masked sum.
7. clinic -> hub, sign(statement). The clinic checks: its own sharers; itself among the survivors; enough survivors;
   its own weight at most `max_share`, as in step 2. It signs one statement in an attempt. For a round, over all its
   attempts, it signs one set of survivors, one set of terms and one update of its own; for a model, in whatever round
   or run, one set of survivors, of their weights and of settings (`Ledger`, on disk before the signature exists).
8. hub -> clinic, at least t such signatures by survivors; clinic -> hub, `Shares`: for each sharer ONE share, of b if
   it has survived, of s if not. The hub compares each with its owner's commitment.
9. The hub rebuilds the survivors' b and the others' s, checks them against the adverts, and takes the masks out of
   the sum.

What holds
----------
As long as at most a third of the roster's clinics help the hub, whatever it and they send:

* The hub sees a vector only if both of its clinic's seeds are rebuilt, for which two different statements would each
  have to be confirmed by t clinics: at least one honest clinic would have signed both, and none does (`threshold`).
* Clinics that were sent different terms, models, settings, weights or peers have different rosters: letters cannot be
  opened, and masks do not cancel (against Pasquini et al., "Eluding Secure Aggregation in Federated Learning via
  Model Inconsistency", CCS 2022, https://doi.org/10.1145/3548606.3560557).
* A message of another run, round, kind or attempt is of another roster. Letters do not pass between clinics or
  directions.
* A round has one sum for each of its clinics. The hub could still take two sums over clinics that have nothing in
  common but those that help it, if it kept the first confirmations from some of them. `min_survivors` prevents that.
* A wrong share or letter is recognised, and the error names the clinic (`ProtocolError.clinic`).

What does not: the sum itself tells something; a clinic can send any vector; hub or clinics can make an attempt fail;
sums of consecutive rounds over clinics that differ by one nearly give its update. Names, keys, weights and who
dropped out are seen by all clinics of the roster. Weights are as the clinics state them: the hub compares them with
what they enrolled with.

Where
-----
`messages` (schemas, signed texts), `threshold`, `signatures`, `key_agreement`, `shares`, `letters`, `masks`,
`fixed_point`; `clinic` and `ledger` (steps 1, 3, 5, 7 and 8 at a clinic); `hub` (steps 1 to 6) and `unmasking` (steps
7 to 9).
"""
