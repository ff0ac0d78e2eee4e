"""Masked rounds at the hub: attempts of five exchanges, after which the hub knows one sum. See `embryofl.secagg`."""
