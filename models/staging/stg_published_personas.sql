with published_personas as (
    select * from {{ source('raw', 'published_personas') }}
)

select
    as_of_date,
    user_id,
    persona
from published_personas
