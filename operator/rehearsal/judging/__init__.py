"""From answers to the best answer: what a judge is asked, what its verdict says, who wins, and how far the judges agree."""
