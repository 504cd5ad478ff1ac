-- whom a mail about the next binge reaches: today's bingers who are likely to stay
with user_personas as (
    select * from {{ ref('viewer_personas', 'user_personas') }}
)

select
    as_of_date,
    user_id,
    explanation
from user_personas
where
    as_of_date = (select max(as_of_date) from user_personas)
    and persona = 'binger'
    and churn_risk_level <> 'high'
