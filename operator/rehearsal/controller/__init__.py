"""observe → plan → act: what a run looks like, what should happen, and doing it. No artifact and no Secret is ever read here."""
