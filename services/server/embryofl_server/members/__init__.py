"""A clinic's membership, from the invite to its end.

1. `invites`: the coordinator makes an invite for one clinic, once (`invite_lines`: the commands to send with it).
2. `membership`: the clinic enrols, is approved, asks for its status, is suspended or reinstated, changes its name or key,
   and is revoked or leaves. `sessions` detects a key in two places, `contact` has the hub's addresses, `limits` says how
   often a stranger or a member may do something.
3. `store` keeps who is in, and `keys` sends the keys of present clinics to the SuperLink.
4. `identity` and `authority`: why clinics trust this hub, and how its certificates are renewed and replaced.
5. `restored` revokes in a restored backup who was revoked since.
"""
