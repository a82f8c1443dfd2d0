"""What comes from outside (files, answers, names): read, shown and computed on within bounds. Imports nothing of rehearsal."""
