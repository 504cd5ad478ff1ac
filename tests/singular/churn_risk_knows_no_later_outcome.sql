-- A risk on a date is estimated from outcomes that were known on it, and none is estimated where
-- nothing was known.
select
    as_of_date,
    persona,
    last_outcome_date,
    basis
from {{ ref('churn_rates') }}
where
    last_outcome_date > as_of_date
    or (basis = 'estimated') <> (last_outcome_date is not null)
