"""Every model under one roof: the paper's tables and figures, made again by one command each."""
