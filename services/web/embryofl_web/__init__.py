"""What the console and the clinic app share: guard, sessions, templates, stylesheet, script. Pages load nothing else."""
