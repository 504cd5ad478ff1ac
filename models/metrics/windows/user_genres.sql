{%- set prior = var('genre_prior_titles') -%}

with as_of_dates as (
    select * from {{ ref('as_of_dates') }}
    where {{ needs_building() }}
),

watched_titles as (
    select * from {{ ref('user_titles') }}
    where watched_contents > 0 and as_of_date in (select as_of_date from as_of_dates)
),

genres as (
    select * from {{ ref('title_tags') }}
    where is_genre
),

user_genres as (
    select
        watched_titles.as_of_date,
        watched_titles.window_days,
        watched_titles.user_id,
        genres.tag as genre,
        count(*) as watched_titles,
        count(case when genres.genre_number = 1 then 1 end) as first_genres,
        sum(watched_titles.watch_interactions) as watch_interactions,
        {{ exact_sum('watched_titles.watch_seconds') }} as watch_seconds
    from watched_titles
    inner join genres on watched_titles.title_id = genres.title_id
    group by 1, 2, 3, 4
),

-- every title with genres has a first one
with_titles as (
    select
        *,
        cast(
            sum(first_genres) over (partition by as_of_date, window_days, user_id) as double
        ) as titles_with_genre,
        cast(
            row_number() over (
                partition by as_of_date, window_days, user_id
                order by watched_titles desc nulls last, genre asc nulls last
            ) as integer
        ) as genre_rank
    from user_genres
),

audience as (
    select
        as_of_date,
        window_days,
        genre,
        sum(watched_titles) / cast(
            sum(sum(first_genres)) over (partition by as_of_date, window_days) as double
        ) as audience_share
    from user_genres
    group by 1, 2, 3
)

select
    with_titles.as_of_date,
    with_titles.window_days,
    with_titles.user_id,
    with_titles.genre,
    with_titles.watched_titles,
    {{ watch_minutes('with_titles.watch_seconds', 'with_titles.watch_interactions') }}
        as watch_minutes,
    with_titles.watched_titles / with_titles.titles_with_genre as title_share,
    audience.audience_share,
    (with_titles.watched_titles + {{ prior }})
    / (with_titles.titles_with_genre * audience.audience_share + {{ prior }}) as lift,
    with_titles.genre_rank,
    as_of_dates.input_version
from with_titles
inner join as_of_dates on with_titles.as_of_date = as_of_dates.as_of_date
inner join audience
    on
        with_titles.as_of_date = audience.as_of_date
        and with_titles.window_days = audience.window_days
        and with_titles.genre = audience.genre
