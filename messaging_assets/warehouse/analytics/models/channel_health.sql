-- How alive each channel is, as of the day of the newest message of the whole workspace. Messages with a
-- date in the future do not count for that, so that a single one does not make every channel look dead.
--
-- Deleted messages are left out, and so are deleted channels; channels without messages are listed. Messages
-- of unknown channels are kept under the channel's id, or under null, and the name is `unknown`.
--
-- Grain: channel_id
WITH written AS (
    SELECT id, channel_id, created_at, CAST(created_at AS DATE) AS day
    FROM messages
    WHERE deleted_at IS NULL
),

newest AS (
    SELECT max(day) AS as_of FROM written WHERE day <= current_date
),

activity AS (
    SELECT
        written.channel_id,
        max(written.created_at) AS last_message,
        count(written.id) FILTER (WHERE written.day > newest.as_of - 28 AND written.day <= newest.as_of)
            AS messages_28d,
        count(written.id) FILTER (WHERE written.day > newest.as_of - 56 AND written.day <= newest.as_of - 28)
            AS messages_28d_before
    FROM written
    CROSS JOIN newest
    GROUP BY written.channel_id
)

SELECT
    coalesce(channels.id, activity.channel_id)
        AS channel_id, -- The channel's id, as text; null for messages without a channel.
    CASE WHEN channels.id IS NULL THEN 'unknown' ELSE coalesce(channels.name, 'unnamed') END
        AS channel_name, -- The channel's name now.
    activity.last_message, -- When its last message was written, null without any; without deleted ones.
    newest.as_of, -- The last of the 28 days; null in a workspace without messages.
    coalesce(activity.messages_28d, 0)
        AS messages_28d, -- Messages of the 28 days that end with as_of, without deleted ones.
    coalesce(activity.messages_28d_before, 0)
        AS messages_28d_before, -- Messages of the 28 days before these, without deleted ones.
    activity.messages_28d / nullif(activity.messages_28d_before, 0) - 1
        AS trend, -- Growth over the 28 days before: 0.5 is half as many again; null if those had no message.
    CASE
        WHEN activity.messages_28d >= 28 THEN 'busy'
        WHEN activity.messages_28d > 0 THEN 'quiet'
        ELSE 'dead'
    END AS status -- `dead`: no message in these 28 days; `busy`: one a day on average, or more; else `quiet`.
FROM channels
FULL JOIN activity ON activity.channel_id = channels.id
CROSS JOIN newest
WHERE channels.deleted_at IS NULL
