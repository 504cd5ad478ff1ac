with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

periods as (
    select
        *,
        lag(is_spike) over periods_of_user as previous_is_spike,
        {{ days_between('lag(period_end) over periods_of_user', 'period_start') }} - 1
            as previous_gap_days,
        {{ days_between(
            'period_end',
            'coalesce(lead(period_start) over periods_of_user, '
            ~ plus_days('as_of_date', 1) ~ ')'
        ) }} - 1 as gap_days,
        lead(period_start) over periods_of_user is null as is_last
    from {{ ref('activity_periods') }}
    where as_of_date in (select as_of_date from as_of_dates)
    window periods_of_user as (
        partition by as_of_date, user_id order by period_start asc nulls last
    )
),

sleepy_regions as (
    select
        as_of_date,
        user_id,
        {{ plus_days('period_end', 1) }} as region_start,
        {{ plus_days('period_end', 'gap_days') }} as region_end,
        is_last as is_open,
        input_version
    from periods
    where gap_days >= {{ var('sleepy_min_days') }}
),

-- a spike continues the run of the spike before it if the gap between them allows it
spikes as (
    select
        *,
        max(
            case
                when
                    previous_is_spike
                    and previous_gap_days >= {{ var('ghost_min_gap_days') }}
                    and previous_gap_days < {{ var('sleepy_min_days') }}
                    then null
                else period_start
            end
        ) over (
            partition by as_of_date, user_id
            order by period_start asc nulls last
            rows between unbounded preceding and current row
        ) as run_start
    from periods
    where is_spike
),

runs as (
    select
        as_of_date,
        user_id,
        run_start,
        input_version,
        max(period_end) as run_end,
        count(*) as spikes,
        cast(sum(active_days) as bigint) as active_days,
        -- the next visit may extend it, until the silence is itself a region
        max(case when is_last and gap_days < {{ var('sleepy_min_days') }} then 1 else 0 end) = 1
            as is_open
    from spikes
    group by 1, 2, 3, 4
    having
        count(*) >= {{ var('ghost_min_spikes') }}
        and {{ days_between('run_start', 'max(period_end)') }} + 1 >= {{ var('ghost_min_days') }}
),

-- most runs are the same for many dates: the contents of each are read once, under a number
numbered_runs as (
    select
        *,
        row_number() over (
            order by user_id asc nulls last, run_start asc nulls last, run_end asc nulls last
        ) as set_number
    from (
        select distinct
            user_id,
            run_start,
            run_end
        from runs
    ) as distinct_runs
),

run_contents as (
    select
        numbered_runs.set_number,
        user_content_days.interactions,
        user_content_days.watch_interactions,
        user_content_days.watch_seconds,
        coalesce(contents.title_id, user_content_days.content_id) as title_id
    from numbered_runs
    inner join {{ ref('user_content_days') }} as user_content_days
        on
            numbered_runs.user_id = user_content_days.user_id
            and numbered_runs.run_start <= user_content_days.activity_date
            and numbered_runs.run_end >= user_content_days.activity_date
    left join {{ ref('contents') }} as contents
        on user_content_days.content_id = contents.content_id
),

run_totals as (
    select
        set_number,
        cast(sum(interactions) as bigint) as interactions,
        cast(sum(watch_interactions) as bigint) as watch_interactions,
        {{ exact_sum('watch_seconds') }} as watch_seconds,
        count(distinct title_id) as touched_titles
    from run_contents
    group by 1
),

-- distinct, because a title can be touched on many days and in many episodes
touched_titles as (
    select distinct
        set_number,
        title_id
    from run_contents
    where title_id is not null
),

title_tags as (
    select * from {{ ref('title_tags') }}
),

genres as (
    {{ top_genres('touched_titles', 'title_tags') }}
),

ghost_regions as (
    select
        runs.*,
        run_totals.interactions,
        {{ watch_minutes('run_totals.watch_seconds', 'run_totals.watch_interactions') }}
            as watch_minutes,
        genres.top_genre,
        genres.top_genre_share
    from runs
    inner join numbered_runs
        on
            runs.user_id = numbered_runs.user_id
            and runs.run_start = numbered_runs.run_start
            and runs.run_end = numbered_runs.run_end
    inner join run_totals on numbered_runs.set_number = run_totals.set_number
    left join genres on numbered_runs.set_number = genres.set_number
    where
        run_totals.touched_titles < {{ var('ghost_min_titles') }}
        or coalesce(genres.top_genre_share <= {{ var('ghost_max_genre_share') }}, true)
)

select
    as_of_date,
    user_id,
    'sleepy' as region_type,
    region_start,
    region_end,
    {{ days_between('region_start', 'region_end') }} + 1 as days,
    is_open,
    cast(0 as bigint) as active_days,
    cast(0 as bigint) as spikes,
    cast(0 as bigint) as interactions,
    cast(0 as double) as watch_minutes,
    cast(null as string) as top_genre,
    cast(null as double) as top_genre_share,
    input_version
from sleepy_regions
union all
select
    as_of_date,
    user_id,
    'ghost' as region_type,
    run_start as region_start,
    run_end as region_end,
    {{ days_between('run_start', 'run_end') }} + 1 as days,
    is_open,
    active_days,
    spikes,
    interactions,
    watch_minutes,
    top_genre,
    top_genre_share,
    input_version
from ghost_regions
