{#
    Runs before user_content_hours changes anything: every partition to build must have its events.
    If `personas prune` dropped them, a build would replace a full partition with an empty one, so
    the run stops, whatever the reason for the build (docs/decisions/0015-retention.md).
#}
{% macro check_events_are_there() %}
    {% if not execute %}{{ return('') }}{% endif %}
    {% set missing = run_query(
        'select min(source_date), max(source_date), count(*) from ' ~ ref('source_dates')
        ~ ' where not has_events'
        ~ (' and source_date not in (' ~ kept_partitions() ~ ')' if holds_partitions() else '')
    ).rows[0] %}
    {% if missing[2] %}
        {% do exceptions.raise_compiler_error(
            missing[2] ~ ' days from ' ~ missing[0] ~ ' to ' ~ missing[1] ~ ' must be '
            ~ 'rebuilt, but personas prune dropped their events; no roll-up was changed. '
            ~ 'A definition, the project or the retention policy changed: go back to the old one, '
            ~ 'without --full-refresh; or load the events again: personas load --restore --since '
            ~ missing[0] ~ ' --until ' ~ missing[1] ~ ', which also drops what the source '
            ~ 'no longer has'
        ) %}
    {% endif %}
{% endmacro %}
