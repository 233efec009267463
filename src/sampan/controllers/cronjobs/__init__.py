"""The CronJob controller: a Job at every time of a schedule.

`schedule` reads crontab lines; `decision` says whether a Job is due and which old ones may go; `controller` does it.
"""
