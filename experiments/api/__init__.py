"""headtohead: which finetuning strategy of GPT-2 to take, with evidence."""
