{#
    How different the titles of each set are: set_number and content_diversity, the mean pairwise
    cosine distance between the tag sets of the titles. `titles` is a CTE with one row per set_number
    and title_id; the model has a CTE title_tags.

    Found without looking at pairs: with w_tag = the sum over the titles that carry the tag of
    1 / sqrt(number of tags of the title), and N = the titles with at least one tag, it is
    1 - (sum of w_tag squared - N) / (N (N - 1)), because the sum of squares is the sum of all
    N x N cosines, N of which are of a title with itself. Null for N < 2, so a set of one title has
    no row.
#}
{% macro title_diversity(titles, title_tags) %}
    select
        set_number,
        case
            when sum(first_tags) >= 2
                -- rounded, for the square roots are not exact; + 0.0 makes a -0.0 a 0.0
                then
                    0.0 + round(
                        1.0
                        - ({{ exact_sum('power(tag_weight, 2)', 'decimal(28, 15)') }} - sum(first_tags))
                        / (sum(first_tags) * (sum(first_tags) - 1.0)),
                        12
                    )
        end as content_diversity
    from (
        select
            {{ titles }}.set_number,
            tags.tag_id,
            {{ exact_sum('tags.tag_weight', 'decimal(18, 15)') }} as tag_weight,
            count(case when tags.tag_number = 1 then 1 end) as first_tags
        from {{ titles }}
        inner join (
            select set_number
            from {{ titles }}
            group by set_number
            having count(*) > 1
        ) as sets_of_several
            on {{ titles }}.set_number = sets_of_several.set_number
        inner join ({{ numbered_tags(title_tags) }}) as tags on {{ titles }}.title_id = tags.title_id
        group by {{ titles }}.set_number, tags.tag_id
    ) as tag_weights
    group by set_number
{% endmacro %}

{#
    The genre of the most titles of each set, the first by name among equals, and its share of the
    titles that have a genre at all: set_number, top_genre and top_genre_share. `titles` as above.
#}
{% macro top_genres(titles, title_tags) %}
    select
        top_genres.set_number,
        genres.tag as top_genre,
        top_genres.top_genre_share
    from (
        select
            set_number,
            max_by(tag_id, titles * 1000000000 - tag_id) as tag_id,
            max(titles) / cast(sum(first_genres) as double) as top_genre_share
        from (
            select
                {{ titles }}.set_number,
                tags.tag_id,
                count(*) as titles,
                count(case when tags.genre_number = 1 then 1 end) as first_genres
            from {{ titles }}
            inner join ({{ numbered_tags(title_tags) }}) as tags
                on {{ titles }}.title_id = tags.title_id and tags.is_genre
            group by {{ titles }}.set_number, tags.tag_id
        ) as genre_titles
        group by set_number
    ) as top_genres
    inner join (
        select distinct
            tag_id,
            tag
        from ({{ numbered_tags(title_tags) }}) as tags
    ) as genres
        on top_genres.tag_id = genres.tag_id
{% endmacro %}

{# Tags in the order of their names: numbers are grouped several times as fast as texts, and exact
   weights need no conversion for each title of each set. #}
{% macro numbered_tags(title_tags) %}
    select
        title_id,
        tag,
        is_genre,
        tag_number,
        genre_number,
        cast(tag_weight as decimal(18, 15)) as tag_weight,
        dense_rank() over (order by tag asc nulls last) as tag_id
    from {{ title_tags }}
{% endmacro %}
