"""The signer: holds the key of the authority that clinics trust, apart from the server, which faces the network.

1. `authority`: the key, and the few things that it signs.
2. `process`: a program of its own that lets the server ask for these by a Unix socket, and for nothing else.
3. `client`: the server's side.
"""
