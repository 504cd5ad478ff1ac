-- steps, spells and forecasts say gone of who has left the audience: no persona may have that name
select persona
from {{ ref('personas') }}
where persona = 'gone'
