with users as (
    select * from {{ ref('stg_users') }}
)

select
    user_id,
    timezone
from users
