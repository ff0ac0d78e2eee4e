"""What a run that is over leaves to be read: `results.json` for the coordinator; for others `results-public.json`, and a
model card as Markdown, HTML and JSON."""
