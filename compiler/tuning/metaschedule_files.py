"""The files of MetaSchedule's JSON database, by the names that it gives them."""

WORKLOADS = "database_workload.json"
TUNING_RECORDS = "database_tuning_record.json"
FILES = (WORKLOADS, TUNING_RECORDS)
