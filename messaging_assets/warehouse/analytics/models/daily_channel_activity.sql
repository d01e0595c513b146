-- What was written in each channel on each day. A day on which nothing was written in a channel has no row.
-- Edits and deletions count for the day on which the message was written, not for the day on which they were
-- made. Messages of unknown channels are kept under the channel's id, or under null, and the name is
-- `unknown`. Messages without created_at belong to no day and are left out.
--
-- Grain: day, channel_id
-- Period: day
SELECT
    CAST(messages.created_at AS DATE) AS day, -- The day on which the messages were written.
    messages.channel_id, -- The channel's id, as text; null for messages without a channel.
    CASE WHEN channels.id IS NULL THEN 'unknown' ELSE coalesce(channels.name, 'unnamed') END
        AS channel_name, -- The channel's name now; a deleted channel keeps its name.
    count(messages.id) FILTER (WHERE messages.deleted_at IS NULL)
        AS messages, -- Messages, without deleted ones.
    count(messages.id) FILTER (WHERE messages.deleted_at IS NULL AND messages.thread_parent_id <> messages.id)
        AS replies, -- Those of them that reply to another message; without deleted ones.
    count(DISTINCT messages.user_id) FILTER (WHERE messages.deleted_at IS NULL)
        AS authors, -- Users who wrote them, unknown users included; without deleted messages.
    count(messages.id)
        FILTER (WHERE messages.deleted_at IS NULL AND messages.updated_at <> messages.created_at)
        AS edits, -- Those of them that were changed later; without deleted ones.
    count(messages.id) FILTER (WHERE messages.deleted_at IS NOT NULL)
        AS deletions -- Messages of the day that were deleted later; they count nowhere else.
FROM messages
LEFT JOIN channels ON channels.id = messages.channel_id
WHERE messages.created_at IS NOT NULL
GROUP BY day, messages.channel_id, channel_name
