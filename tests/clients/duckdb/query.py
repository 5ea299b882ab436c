"""Counts the spans of each service in Parquet files, as `service count errors` lines, and reads a few columns by name."""

import sys

import duckdb

files = sys.argv[1:]
rows = duckdb.execute(
    "select service, count(*), count(*) filter (status = 'error') from read_parquet(?, union_by_name = true)"
    " group by service order by service",
    [files],
).fetchall()
for service, spans, errors in rows:
    print(service, spans, errors)
found = duckdb.execute(
    'select count(*) from read_parquet(?, union_by_name = true) where "attr.http.response.status_code" = 200'
    " and end_unix_nano >= start_unix_nano and json_valid(attributes_json) and json_valid(resource_json)",
    [files],
).fetchone()
print("http 200", found[0])
