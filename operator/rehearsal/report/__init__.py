"""What a run found, told with its uncertainty: statistics, figures, the page of one run and the comparison of several."""
