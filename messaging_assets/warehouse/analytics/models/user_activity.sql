-- Every user and what was written by each, also users who wrote nothing and users who are deleted. Authors
-- of messages who are unknown as users are kept under their id, messages without an author under null, and
-- the name is `unknown`. Deleted messages are left out everywhere.
--
-- Grain: user_id
WITH activity AS (
    SELECT
        user_id,
        min(created_at) AS first_seen,
        max(created_at) AS last_seen,
        count(id) AS messages,
        count(DISTINCT channel_id) AS channels,
        count(DISTINCT CAST(created_at AS DATE)) AS days_active,
        count(id) FILTER (WHERE thread_parent_id <> id) AS replies
    FROM messages
    WHERE deleted_at IS NULL
    GROUP BY user_id
)

SELECT
    coalesce(users.id, activity.user_id)
        AS user_id, -- The user's id, as text; null for messages without an author.
    CASE WHEN users.id IS NULL THEN 'unknown' ELSE coalesce(users.name, 'unnamed') END
        AS user_name, -- The user's name now; a deleted user keeps the name.
    activity.first_seen, -- When the first message was written, null without any; without deleted ones.
    activity.last_seen, -- When the last message was written, null without any; without deleted ones.
    coalesce(activity.messages, 0) AS messages, -- Messages, without deleted ones.
    coalesce(activity.channels, 0)
        AS channels, -- Channels written in, unknown ones included; without deleted messages.
    coalesce(activity.days_active, 0)
        AS days_active, -- Days on which something was written; without deleted messages.
    activity.replies / activity.messages
        AS reply_share -- Replies among the messages, 0 to 1, null without any; without deleted ones.
FROM users
FULL JOIN activity ON activity.user_id = users.id
