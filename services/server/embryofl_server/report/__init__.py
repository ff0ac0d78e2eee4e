"""What a run that is over leaves to be read: `results.json`, and a model card as Markdown, HTML and JSON."""
