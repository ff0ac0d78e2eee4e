"""What a finished run leaves to be read: `results.json`, and a model card as Markdown, HTML and JSON, for the coordinator.
`results-public.json` and `model-card-public` hold what others may see."""
