-- ARGV: P id record name
-- 1: kept (or a replay of just that); 0: a key that was not revoked has this name
local keys = P .. ':keys'
for _, text in ipairs(redis.call('HVALS', keys)) do
  local key = cjson.decode(text)
  if key.name == ARGV[4] and key.id ~= ARGV[2] and key.revoked_ms == cjson.null then return 0 end
end
redis.call('HSET', keys, ARGV[2], ARGV[3])
return 1
