-- ARGV: P id error by of
-- 1: the waiting job failed; 0: it waits no more, or others may still get what it needs
local id, by = ARGV[2], ARGV[4]
local r = redis.call('HMGET', job_key(id), 'status', 'refused_by')
if r[1] ~= 'queued' then return 0 end
if by ~= '' then
  local names = { [by] = true }
  for name in string.gmatch(r[2] or '', '%S+') do names[name] = true end
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  redis.call('HSET', job_key(id), 'refused_by', table.concat(list, ' '))
  if #list < tonumber(ARGV[5]) then return 0 end
end
terminate(id, 'failed', ARGV[3])
return 1
