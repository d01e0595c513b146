-- How long the start of a thread waits for the first reply by somebody else, by channel and week. A thread
-- counts for the week and the channel of its start. Threads that nobody else answered do not count, nor do
-- those whose start is missing, deleted or without created_at, or is itself a reply. Deleted replies are
-- left out, and so are replies older than the start, and authors who are not named on either side, since
-- nobody knows whether they are the same. Unknown users count; threads of unknown channels are kept under
-- the channel's id, or under null, and the name is `unknown`.
--
-- Grain: week, channel_id
-- Period: week
WITH first_replies AS (
    SELECT
        starts.id,
        starts.channel_id,
        CAST(starts.created_at AS DATE) AS day,
        -- By seconds since 1970: the difference of two local times is an hour wrong where the clocks change.
        min(epoch(replies.created_at)) - epoch(starts.created_at) AS seconds
    FROM messages AS starts
    INNER JOIN messages AS replies ON replies.thread_parent_id = starts.id
    WHERE
        starts.deleted_at IS NULL
        AND replies.deleted_at IS NULL
        AND coalesce(starts.thread_parent_id, starts.id) = starts.id
        AND replies.user_id <> starts.user_id
        AND replies.created_at >= starts.created_at
    GROUP BY starts.id, starts.channel_id, starts.created_at
)

SELECT
    CAST(date_trunc('week', first_replies.day) AS DATE)
        AS week, -- The Monday of the week in which the threads began.
    first_replies.channel_id, -- The id of the channel, as text; null for messages without a channel.
    CASE WHEN channels.id IS NULL THEN 'unknown' ELSE coalesce(channels.name, 'unnamed') END
        AS channel_name, -- The channel's name now; a deleted channel keeps its name.
    count(first_replies.id) AS threads, -- Threads that somebody else answered; without deleted messages.
    median(first_replies.seconds)
        AS median_seconds, -- The median of the seconds until the first reply; without deleted messages.
    quantile_cont(first_replies.seconds, 0.9)
        AS p90_seconds -- Nine of ten first replies came within so many seconds; without deleted messages.
FROM first_replies
LEFT JOIN channels ON channels.id = first_replies.channel_id
GROUP BY week, first_replies.channel_id, channel_name
