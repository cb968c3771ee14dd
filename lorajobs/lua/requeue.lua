-- ARGV: P id attempt error delay_ms refund queue message
-- the new status, or nil when the lease is lost
local id = ARGV[2]
if not owns(id, ARGV[3]) then return false end
if ARGV[6] == '1' then redis.call('HINCRBY', job_key(id), 'refunded', 1) end
local status = put_back(id, ARGV[4], tonumber(ARGV[5]))
if status == 'queued' and tonumber(ARGV[5]) == 0 then push_ticket(ARGV[7], ARGV[8]) end
return status
