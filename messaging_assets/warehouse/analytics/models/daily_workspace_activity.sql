-- The whole workspace by day, from the first day on which something happened to the last one, days without
-- anything included; of a gap of more than a year only the first year is listed, so that one wrong date does
-- not make thousands of days. Deleted messages are left out, users and channels that were deleted later are
-- counted as new on their day. Unknown users count as users. Rows without created_at belong to no day.
--
-- Grain: day
-- Period: day
WITH written AS (
    SELECT id, user_id, CAST(created_at AS DATE) AS day
    FROM messages
    WHERE deleted_at IS NULL AND created_at IS NOT NULL
),

-- The days on which a user wrote, each with the next such day.
user_days AS (
    SELECT user_id, day, lead(day) OVER (PARTITION BY user_id ORDER BY day) AS next_day
    FROM (SELECT DISTINCT user_id, day FROM written WHERE user_id IS NOT NULL)
),

-- What is added on a day. On each of these days a user begins to count for 7 (28) days, and ceases when they
-- are over or, to begin anew, on the next of these days. So the sum of what was added up to a day is the
-- number of different users in the 7 (28) days that end with it.
added AS (
    SELECT
        day,
        count(id) AS messages,
        0 AS users,
        0 AS users_7d,
        0 AS users_28d,
        0 AS new_users,
        0 AS new_channels
    FROM written GROUP BY day
    UNION ALL
    SELECT day, 0, count(user_id), count(user_id), count(user_id), 0, 0
    FROM user_days GROUP BY day
    UNION ALL
    SELECT least(day + 7, coalesce(next_day, day + 7)) AS until, 0, 0, -count(user_id), 0, 0, 0
    FROM user_days GROUP BY until
    UNION ALL
    SELECT least(day + 28, coalesce(next_day, day + 28)) AS until, 0, 0, 0, -count(user_id), 0, 0
    FROM user_days GROUP BY until
    UNION ALL
    SELECT CAST(created_at AS DATE) AS day, 0, 0, 0, 0, count(id), 0
    FROM users WHERE created_at IS NOT NULL GROUP BY day
    UNION ALL
    SELECT CAST(created_at AS DATE) AS day, 0, 0, 0, 0, 0, count(id)
    FROM channels WHERE created_at IS NOT NULL GROUP BY day
),

by_day AS (
    SELECT
        day,
        sum(messages) AS messages,
        sum(users) AS users,
        sum(users_7d) AS users_7d,
        sum(users_28d) AS users_28d,
        sum(new_users) AS new_users,
        sum(new_channels) AS new_channels
    FROM added GROUP BY day
),

eventful AS (
    SELECT day, lead(day) OVER (ORDER BY day) AS next_day
    FROM by_day WHERE messages + new_users + new_channels > 0
),

calendar AS (
    SELECT
        CAST(unnest(range(day, least(coalesce(next_day, day + 1), day + 366), INTERVAL 1 DAY)) AS DATE)
            AS day
    FROM eventful
)

SELECT
    calendar.day, -- The day.
    CAST(coalesce(by_day.users, 0) AS BIGINT)
        AS active_users_1d, -- Users who wrote on this day, unknown ones included; without deleted messages.
    CAST(coalesce(sum(by_day.users_7d) OVER (ORDER BY calendar.day), 0) AS BIGINT)
        AS active_users_7d, -- Users who wrote in the 7 days that end with it; without deleted messages.
    CAST(coalesce(sum(by_day.users_28d) OVER (ORDER BY calendar.day), 0) AS BIGINT)
        AS active_users_28d, -- Users who wrote in the 28 days that end with it; without deleted messages.
    CAST(coalesce(by_day.messages, 0) AS BIGINT) AS messages, -- Messages of this day, without deleted ones.
    CAST(coalesce(by_day.new_users, 0) AS BIGINT)
        AS new_users, -- Users created on this day, also those who were deleted later.
    CAST(coalesce(by_day.new_channels, 0) AS BIGINT)
        AS new_channels -- Channels created on this day, also those that were deleted later.
FROM calendar
LEFT JOIN by_day ON by_day.day = calendar.day
