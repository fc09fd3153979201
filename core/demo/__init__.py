"""The embedded demo: messages written by hand, a small GPT pretrained on public text, and its recipe."""
