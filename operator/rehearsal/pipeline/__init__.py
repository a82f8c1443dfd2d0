"""What a run consists of: the stage table and the fingerprints. Pure; the operator and the workers read the same table."""
