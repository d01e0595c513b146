-- At which hours of the week people write: messages by weekday and hour, over the whole time. An hour in
-- which nobody ever wrote has no row. Where clocks go back, both hours of that name count as one. Deleted
-- messages and messages without created_at are left out; those of unknown users and channels are counted.
--
-- Grain: weekday, hour
SELECT
    extract(isodow FROM messages.created_at) AS weekday, -- The day of the week, 1 (Monday) to 7 (Sunday).
    extract(hour FROM messages.created_at) AS hour, -- The hour of the day, 0 to 23.
    count(messages.id) AS messages -- Messages, without deleted ones.
FROM messages
WHERE messages.deleted_at IS NULL AND messages.created_at IS NOT NULL
GROUP BY weekday, hour
