-- Every message with the names of its channel and author, and with its day and hour. Deleted messages are
-- kept and marked. Messages of unknown channels or users are kept, and their names are `unknown`; a channel
-- or user that has an id but no name is `unnamed`. The text stays in the raw table: join `messages` by `id`.
--
-- Grain: id
-- Period: day
-- Compared by: day, channel_name, user_name, deleted_at, _row_hash
SELECT
    messages.id, -- The message's id, as text.
    messages.created_at, -- When it was written.
    CAST(messages.created_at AS DATE) AS day, -- The day on which it was written; null without created_at.
    extract(hour FROM messages.created_at) AS hour, -- The hour in which it was written, 0 to 23.
    messages.channel_id, -- The id of its channel, as text; null for a message without one.
    CASE WHEN channels.id IS NULL THEN 'unknown' ELSE coalesce(channels.name, 'unnamed') END
        AS channel_name, -- The channel's name now; a deleted channel keeps its name.
    messages.user_id, -- The id of its author, as text; null for a message without one.
    CASE WHEN users.id IS NULL THEN 'unknown' ELSE coalesce(users.name, 'unnamed') END
        AS user_name, -- The author's name now; a deleted user keeps the name.
    messages.thread_parent_id, -- The id of the message that it replies to, also where that is not there.
    length(messages.text) AS length, -- Characters of its text; null without a text.
    coalesce(messages.thread_parent_id <> messages.id, FALSE)
        AS is_reply, -- Whether it replies to another message.
    coalesce(messages.updated_at <> messages.created_at, FALSE)
        AS is_edited, -- Whether it was changed after it was written: updated_at differs from created_at.
    messages.deleted_at IS NOT NULL AS is_deleted, -- Whether it is gone at the source.
    messages.deleted_at, -- When a sync noticed that it is gone; null while it lives.
    messages._row_hash -- The digest of the raw row that this row was made of.
FROM messages
LEFT JOIN channels ON channels.id = messages.channel_id
LEFT JOIN users ON users.id = messages.user_id
