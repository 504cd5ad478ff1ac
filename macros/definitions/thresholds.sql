{#
    The thresholds: meaning, unit and valid values; a number is from a minimum to a maximum. A changed value rebuilds the partitions of the
    models that name it in their SQL or in a macro that they use (definition_version).
#}
{% macro definitions() %}
    {{ return({
        'default_timezone': {
            'is': 'the time zone of viewers without a known and valid one',
            'unit': 'IANA name',
        },
        'day_starts_at_hour': {
            'minimum': 0, 'maximum': 12,
            'is': 'the local hour at which an activity date begins, so that a night is one day',
            'unit': 'hour',
        },
        'min_watch_seconds': {
            'minimum': 0, 'maximum': 86400,
            'is': 'the least watch time of a content on a day to count as watched',
            'unit': 'seconds',
        },
        'max_clock_ahead_hours': {
            'minimum': 0, 'maximum': 8760, 'fractions': true,
            'is': 'how far behind the load an event may lie in the future; later ones are rejected',
            'unit': 'hours',
        },
        'lookback_days': {
            'minimum': 168, 'maximum': 3660,
            'is': 'how far back an evaluation date looks; at least twice the longest window',
            'unit': 'days',
        },
        'as_of_weekday': {
            'choices': [
                'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday'
            ],
            'is': 'the weekday of the weekly evaluation dates', 'unit': 'name of a weekday',
        },
        'as_of_history_weeks': {
            'minimum': 0, 'maximum': 520,
            'is': 'how many weekly evaluation dates are kept; 0 = the latest date only',
            'unit': 'weeks',
        },
        'period_gap_days': {
            'minimum': 1, 'maximum': 27,
            'is': 'how many days apart two successive active dates of one activity period may be',
            'unit': 'days; 1 = consecutive dates',
        },
        'binge_min_episodes': {
            'minimum': 2, 'maximum': 1000,
            'is': 'how many episodes of a series within 24 hours make a binge', 'unit': 'episodes',
        },
        'spike_max_days': {
            'minimum': 1, 'maximum': 3660,
            'is': 'the most active days of an activity period that is a spike (low-engagement visit)',
            'unit': 'days',
        },
        'spike_max_watch_minutes': {
            'minimum': 0, 'maximum': 1000000, 'fractions': true,
            'is': 'the watch time that an activity period must stay below to be a spike',
            'unit': 'minutes',
        },
        'sleepy_min_days': {
            'minimum': 2, 'maximum': 3660,
            'is': 'how many consecutive inactive days make a sleepy region', 'unit': 'days',
        },
        'ghost_min_spikes': {
            'minimum': 2, 'maximum': 1000,
            'is': 'how many consecutive spikes make a ghost region', 'unit': 'spikes',
        },
        'ghost_min_gap_days': {
            'minimum': 1, 'maximum': 3660,
            'is': 'the fewest inactive days between two spikes of a ghost region',
            'unit': 'days; fewer than sleepy_min_days',
        },
        'ghost_min_days': {
            'minimum': 1, 'maximum': 3660,
            'is': 'the least length of a ghost region, from its first to its last active date',
            'unit': 'days',
        },
        'ghost_max_genre_share': {
            'minimum': 0, 'maximum': 1, 'fractions': true,
            'is': 'the largest share of one genre without a clear interest in a ghost region',
            'unit': 'share of the touched titles that have a genre',
        },
        'ghost_min_titles': {
            'minimum': 1, 'maximum': 1000000,
            'is': 'the fewest touched titles for the share of a genre to be a clear interest',
            'unit': 'titles',
        },
        'morning_starts_at_hour': {
            'minimum': 0, 'maximum': 23,
            'is': 'the local hour at which the daypart morning begins and the night ends',
            'unit': 'hour',
        },
        'daytime_starts_at_hour': {
            'minimum': 0, 'maximum': 23,
            'is': 'the local hour at which the daypart daytime begins',
            'unit': 'hour; later than the morning',
        },
        'early_evening_starts_at_hour': {
            'minimum': 0, 'maximum': 23,
            'is': 'the local hour at which the daypart early evening begins',
            'unit': 'hour; later than the daytime',
        },
        'prime_time_starts_at_hour': {
            'minimum': 0, 'maximum': 23,
            'is': 'the local hour at which the daypart prime time begins',
            'unit': 'hour; later than the early evening',
        },
        'night_starts_at_hour': {
            'minimum': 0, 'maximum': 23,
            'is': 'the local hour at which the daypart night begins; it lasts until the morning',
            'unit': 'hour; later than the prime time',
        },
        'peak_min_days': {
            'minimum': 3, 'maximum': 3660,
            'is': 'the fewest watched days for a peak hour or weekday',
            'unit': 'days',
        },
        'genre_prior_titles': {
            'minimum': 0.01, 'maximum': 1000000, 'fractions': true,
            'is': 'how many titles are added to both the watched and the expected titles of a genre',
            'unit': 'titles; one watched title lifts a genre to at most 1 + 1 / this',
        },
        'quality_max_share': {
            'minimum': 0, 'maximum': 1, 'fractions': true,
            'is': 'the largest share of suspicious data of a kind without a warning',
            'unit': 'share',
        },
        'exclusivity_method': {
            'choices': ['priority', 'strongest', 'rarest', 'sticky', 'riskiest'],
            'is': 'which of several matching personas a viewer gets', 'unit': 'name of a method',
        },
        'forecast_max_weeks': {
            'minimum': 1, 'maximum': 52,
            'is': 'up to how many weeks a forecast distinguishes the length of a spell',
            'unit': 'weeks',
        },
        'forecast_prior_steps': {
            'minimum': 0.01, 'maximum': 1000000, 'fractions': true,
            'is': 'how many steps of the whole persona are added to those of a week of its spells',
            'unit': 'steps: one viewer from one weekly date to the next',
        },
        'exclusivity_benchmark_dates': {
            'minimum': 1, 'maximum': 521,
            'is': 'on how many of the latest evaluation dates the methods of choosing are compared',
            'unit': 'evaluation dates; churn needs at least twice churn_horizon_days of them',
        },
        'drift_baseline_weeks': {
            'minimum': 1, 'maximum': 520,
            'is': 'how far before an evaluation date its baseline date for drift is',
            'unit': 'weeks',
        },
        'shift_past_dates': {
            'minimum': 4, 'maximum': 520,
            'is': 'from how many earlier changes it is estimated how far the share of a persona '
                ~ 'usually moves between evaluation dates',
            'unit': 'changes; until there are so many, nothing is called a shift',
        },
        'churn_horizon_days': {
            'minimum': 7, 'maximum': 182,
            'is': 'how many days without activity after an evaluation date are churn',
            'unit': 'days',
        },
        'churn_recency_bands': {
            'edges': true,
            'is': 'where the bands of days since the last activity begin, within which viewers '
                ~ 'share a risk of churn',
            'unit': 'days; the first band begins at 0',
        },
        'churn_spell_bands': {
            'edges': true,
            'is': 'where the bands of days with the same persona begin, within which viewers '
                ~ 'share a risk of churn',
            'unit': 'days; the first band begins at 0',
        },
        'churn_prior_viewers': {
            'minimum': 0.01, 'maximum': 1000000, 'fractions': true,
            'is': 'how many viewers with the churn rate of the parent group are added to a group',
            'unit': 'viewers; more pull small groups closer to their parent groups',
        },
        'churn_low_odds_ratio': {
            'minimum': 0, 'maximum': 1, 'fractions': true,
            'is': 'up to which ratio of the odds of churn to those of the base rate risk is low',
            'unit': 'ratio of odds',
        },
        'churn_high_odds_ratio': {
            'minimum': 1, 'maximum': 1000000, 'fractions': true,
            'is': 'from which ratio of the odds of churn to those of the base rate risk is high',
            'unit': 'ratio of odds',
        },
        'raw_retention_days': {
            'minimum': 0, 'maximum': 36600,
            'is': 'how many days of raw events are kept; personas prune drops older ones once '
                ~ 'their roll-ups are built',
            'unit': 'days; 0 = all',
        },
        'history_retention_days': {
            'minimum': 0, 'maximum': 36600,
            'is': 'how many days of roll-ups are kept; older days expire with personas prune',
            'unit': 'days; 0 = all',
        },
        'events_at_once': {
            'minimum': 1, 'maximum': 1000000000000,
            'is': 'how many events a roll-up aggregates at a time, in whole days; on DuckDB, where '
                ~ 'fewer take less memory',
            'unit': 'events; a day with more is split into parts of whole quarters of an hour',
        },
        'viewer_days_at_once': {
            'minimum': 1, 'maximum': 1000000000000,
            'is': 'how many rows of user_days, counted for each evaluation date, are turned into '
                ~ 'metrics and matches at a time; on DuckDB, where fewer take less memory',
            'unit': 'rows; at least one date',
        },
    }) }}
{% endmacro %}
