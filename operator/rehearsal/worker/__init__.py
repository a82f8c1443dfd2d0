"""The stage programs: `python -m rehearsal.worker <stage kind>`. Each is idempotent and may be killed at any instruction."""
