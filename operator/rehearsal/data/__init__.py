"""Rows of data: reading users' files, refusing unfit rows, mixing two sets, and the plan of training steps."""
