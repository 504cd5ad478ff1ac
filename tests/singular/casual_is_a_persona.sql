-- user_personas gives casual to whoever matches nothing: without its row they would be lost
select 'casual' as persona
where 'casual' not in (select persona from {{ ref('personas') }})
