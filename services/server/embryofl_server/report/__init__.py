"""What a run that is over leaves to be read: `results.json`, and a model card as Markdown, HTML and JSON. They are the
coordinator's; `results-public.json` and `model-card-public` hold what others may see."""
