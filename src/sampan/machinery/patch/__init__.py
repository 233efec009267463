"""The four kinds of PATCH: functions that leave their inputs alone and may share parts of them in the result."""
