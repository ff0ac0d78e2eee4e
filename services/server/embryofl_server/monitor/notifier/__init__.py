"""The notifier: a process apart that asks the hub what holds (`monitor.notices`) and tells people by mail or webhook.

Of all parts of the hub it alone is meant to reach other machines, so it has the least rights: a token that opens one route,
and no state of the hub. What it was told to send, and to whom, is in one file (`settings`), what it has told in another
(`state`), which the hub reads. `outbox` decides what to tell, `mail` and `webhook` tell it, `service` is the process.
"""
