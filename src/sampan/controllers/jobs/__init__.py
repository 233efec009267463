"""The Job controller: pods that run to completion.

`indexes` is the arithmetic of completion indexes and `failure_policy` what a failure means; `tally` counts what ended,
`decision` says whether the job has and which pods to make or delete; `controller` does it.
"""
