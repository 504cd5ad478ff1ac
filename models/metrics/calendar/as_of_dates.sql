{%- set weekday_numbers = {
    'monday': 1, 'tuesday': 2, 'wednesday': 3, 'thursday': 4, 'friday': 5, 'saturday': 6,
    'sunday': 7
} -%}

with activity_dates as (
    select * from {{ ref('activity_dates') }}
),

bounds as (
    select
        min(activity_date) as first_complete_date,
        max(activity_date) as latest_date
    from activity_dates
    where is_complete
),

listed as (
    select
        activity_dates.activity_date as as_of_date,
        {{ plus_days('activity_dates.activity_date', 1 - var('lookback_days')) }} as lookback_start,
        activity_dates.activity_date = bounds.latest_date as is_latest
    from activity_dates
    cross join bounds
    where
        activity_dates.activity_date = bounds.latest_date
        or (
            {{ iso_weekday('activity_dates.activity_date') }}
            = {{ weekday_numbers[var('as_of_weekday')] }}
            and activity_dates.activity_date
            >= {{ plus_days('bounds.first_complete_date', short_window() - 1) }}
            and activity_dates.activity_date <= bounds.latest_date
            and activity_dates.activity_date
            > {{ plus_days('bounds.latest_date', -7 * var('as_of_history_weeks')) }}
        )
),

contents as (
    select * from {{ ref('contents') }}
),

-- events may name a series without its own entry: its episodes stand in for it
entries as (
    select
        content_id,
        entry_version
    from contents
    union all
    select
        contents.title_id as content_id,
        min(contents.entry_version) as entry_version
    from contents
    left join contents as own_entries on contents.title_id = own_entries.content_id
    where own_entries.content_id is null
    group by contents.title_id
),

-- the catalogue entries of everything touched on a date: a corrected entry restates the evaluation
-- dates with it in their lookback, and a new title restates none
content_versions as (
    select
        content_days.activity_date,
        {{ joined_text('entries.entry_version') }} as entries
    from {{ ref('content_days') }} as content_days
    inner join entries on content_days.content_id = entries.content_id
    group by content_days.activity_date
),

activity_versions as (
    select
        activity_dates.activity_date,
        md5(concat_ws('|', activity_dates.input_version, coalesce(content_versions.entries, '-')))
            as activity_version
    from activity_dates
    left join content_versions on activity_dates.activity_date = content_versions.activity_date
),

-- subscriptions as of the date: who had signed up by then, and who had cancelled
subscription_versions as (
    select
        known_on,
        {{ joined_text('entry') }} as entries
    from (
        select
            signed_up_on as known_on,
            concat_ws('|', 'since', user_id) as entry
        from {{ ref('stg_users') }}
        where signed_up_on is not null
        union all
        select
            cancelled_on as known_on,
            concat_ws('|', 'until', user_id) as entry
        from {{ ref('stg_users') }}
        where signed_up_on is not null and cancelled_on is not null
    ) as subscriptions
    group by known_on
),

subscriptions_by_date as (
    select
        listed.as_of_date,
        md5({{ joined_text(
            "concat_ws('|', subscription_versions.known_on, md5(subscription_versions.entries))"
        ) }}) as subscription_version
    from listed
    inner join subscription_versions on listed.as_of_date >= subscription_versions.known_on
    group by listed.as_of_date
),

activity_by_date as (
    select
        listed.as_of_date,
        listed.lookback_start,
        listed.is_latest,
        md5({{ joined_text(
            "concat_ws('|', activity_versions.activity_date, activity_versions.activity_version)"
        ) }}) as activity_version
    from listed
    inner join activity_versions
        on activity_versions.activity_date between listed.lookback_start and listed.as_of_date
    group by listed.as_of_date, listed.lookback_start, listed.is_latest
)

select
    activity_by_date.as_of_date,
    activity_by_date.lookback_start,
    activity_by_date.is_latest,
    md5(
        concat_ws(
            '|',
            activity_by_date.lookback_start,
            activity_by_date.activity_version,
            coalesce(subscriptions_by_date.subscription_version, '-'),
            '{{ definition_version("as_of_dates") }}'
        )
    ) as input_version
from activity_by_date
left join subscriptions_by_date
    on activity_by_date.as_of_date = subscriptions_by_date.as_of_date
