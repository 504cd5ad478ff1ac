{#
    Before user_content_hours changes anything: every partition that is to be built must have its
    events. Where `personas prune` dropped them, building would make an empty partition of a full
    one, so the run stops, whatever the reason for building it is (docs/decisions/0015-retention.md).
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
            missing[2] ~ ' days from ' ~ missing[0] ~ ' to ' ~ missing[1] ~ ' are to be built '
            ~ 'anew, but their events were dropped by personas prune; no roll-up was changed. '
            ~ 'A definition, the project or the retention is another than before: go back to it, '
            ~ 'without --full-refresh; or read the events again: personas load --restore --since '
            ~ missing[0] ~ ' --until ' ~ missing[1] ~ ', which also gives up what the source does '
            ~ 'not have any more'
        ) %}
    {% endif %}
{% endmacro %}
