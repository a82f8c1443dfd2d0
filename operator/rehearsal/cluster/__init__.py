"""Where Jobs are carried out: one small port, with an adapter for each place."""
