-- Charges, settles and restores counters: many operations of one tenant in one call. The arithmetic is that of counting.py.
-- KEYS: the tenant's set of changed counters, then the counters. ARGV[1]: msgpack of the operations.
-- Returns msgpack: the time in microseconds, then for each operation the place that refused (0: none, -1: a counter is
-- not one of ours) and how long it has to wait (-1: for ever).
local MOST, DAY = 4503599627370496, 86400000000
local LENGTHS = {1000000, 60000000, 3600000000, DAY}
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function days_to(year, month)
  if month <= 2 then year = year - 1 end
  local era = floor(year / 400)
  local of_era = year - era * 400
  local of_year = floor((153 * (month > 2 and month - 3 or month + 9) + 2) / 5)
  return era * 146097 + of_era * 365 + floor(of_era / 4) - floor(of_era / 100) + of_year - 719468
end

local function month_of(at)
  local days = floor(at / DAY) + 719468
  local era = floor(days / 146097)
  local of_era = days - era * 146097
  local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local shifted = floor((5 * of_year + 2) / 153)
  local month = shifted < 10 and shifted + 3 or shifted - 9
  year = year + era * 400
  if month <= 2 then year = year + 1 end
  return year, month
end

local function window_at(window, at)
  local length = LENGTHS[window]
  if length then
    local start = at - at % length
    return start, start + length
  end
  local year, month = month_of(at)
  local after, next_month = year, month + 1
  if month == 12 then after, next_month = year + 1, 1 end
  return days_to(year, month) * DAY, days_to(after, next_month) * DAY
end

local function whole(text)
  local value = tonumber(text)
  return value and value <= MOST and value or nil
end

-- States: {1, at, debt, amount} and {2, start, used, before, window, end}; false: a value that we did not write.
local known, changed = {}, {}

local function read(key, window)
  local text = redis.pcall('GET', KEYS[key])
  if not text then
    if window == 0 then return {1, now, 0, 0} end
    local start, finish = window_at(window, now)
    return {2, start, 0, 0, window, finish}
  end
  if type(text) ~= 'string' then return false end
  if window == 0 then
    local at, debt, amount = text:match('^r:(%d+):(%d+):(%d+)$')
    at, debt, amount = whole(at), whole(debt), whole(amount)
    if not (at and debt and amount) or amount < 1 or at > now + DAY then return false end
    return {1, at, debt, amount}
  end
  local kept, start, used, before = text:match('^c:(%d):(%d+):(%d+):(%d+)$')
  start, used, before = whole(start), whole(used), whole(before)
  if not (start and used and before) or tonumber(kept) ~= window or start > now + DAY then return false end
  local begin, finish = window_at(window, start)
  return begin == start and {2, start, used, before, window, finish} or false
end

local function state_of(key, window)
  local state = known[key]
  if state == nil then
    state = read(key, window)
    known[key] = state
  end
  if state and (state[1] == 1) ~= (window == 0) or state and window ~= 0 and state[5] ~= window then return false end
  return state
end

local function drain(state, at, amount)
  if at > state[2] then
    state[3] = max(0, state[3] - (at - state[2]) * state[4])
    state[2] = at
  end
  if state[4] ~= amount then
    state[3] = state[4] == 0 and 0 or min(MOST, ceil(state[3] / state[4] * amount))
    state[4] = amount
  end
end

local function turn(state, at)
  if at >= state[6] then
    local start, finish = window_at(state[5], at)
    state[4] = start == state[6] and state[3] or 0
    state[3], state[2], state[6] = 0, start, finish
  end
end

local function rate_wait(state, cost, amount, period, burst)
  drain(state, now, amount)
  local need = max(cost, 1)
  if need > burst then return -1 end
  local excess = state[3] + (need - burst) * period
  if excess <= 0 then return 0 end
  return ceil(excess / amount) + max(0, state[2] - now)
end

local function cap_wait(state, cost, amount, sliding, stops)
  turn(state, now)
  local need = max(cost, 1)
  if stops == 0 then return 0 end
  local at, length, weighed = max(now, state[2]), state[6] - state[2], 0
  if sliding == 1 and state[4] > 0 then weighed = ceil(state[4] * ((state[6] - at) / length)) end
  if state[3] + weighed + need <= amount then return 0 end
  if need > amount then return -1 end
  if sliding == 0 then return state[6] - now end
  local room = amount - need
  if state[3] <= room then return state[6] - floor(length * ((room - state[3]) / state[4])) + 1 - now end
  local _, finish = window_at(state[5], state[6])
  local after = finish - state[6]
  return state[6] + after - floor(after * (room / state[3])) + 1 - now
end

local function charge(places, charges)
  local worst, refused = 0, 0
  for place, c in ipairs(charges) do
    local state, wait = state_of(places[place], c[2]), 0
    if not state then return -1, place end
    if c[2] == 0 then wait = rate_wait(state, c[1], c[3], c[4], c[5]) else wait = cap_wait(state, c[1], c[3], c[4], c[5]) end
    if worst ~= -1 and (wait == -1 or wait > worst) then worst, refused = wait, place end
  end
  if refused > 0 then return refused, worst end
  for place, c in ipairs(charges) do
    local state = known[places[place]]
    state[3] = min(MOST, state[3] + (c[2] == 0 and c[1] * c[4] or c[1]))
    changed[places[place]] = true
  end
  return 0, 0
end

local function settle(places, charges, at)
  for place, c in ipairs(charges) do
    local key = places[place]
    local state = state_of(key, c[2])
    if not state then return -1, place end
    if c[2] == 0 then
      drain(state, at, c[3])
      state[3] = min(MOST, max(0, state[3] + c[1] * c[4]))
    elseif c[1] >= 0 or at >= state[2] then
      turn(state, at)
      state[3] = min(MOST, max(0, state[3] + c[1]))
    else
      local _, finish = window_at(state[5], at)
      if finish == state[2] then state[4] = max(0, state[4] + c[1]) end
    end
    changed[key] = true
  end
  return 0, 0
end

local function raise_to(key, window, start, used, before)
  local state = state_of(key, window)
  if not state then return -1, 1 end
  if start > state[2] then turn(state, start) end
  local _, finish = window_at(window, start)
  if start == state[2] then
    state[3], state[4] = max(state[3], used), max(state[4], before)
  elseif finish == state[2] then
    state[4] = max(state[4], used)
  end
  changed[key] = true
  return 0, 0
end

local answer = {now}
for _, op in ipairs(cmsgpack.unpack(ARGV[1])) do
  local place, wait
  if op[1] == 0 then place, wait = charge(op[2], op[3])
  elseif op[1] == 1 then place, wait = settle(op[2], op[3], op[4])
  else place, wait = raise_to(op[2][1], op[3], op[4], op[5], op[6]) end
  answer[#answer + 1] = place
  answer[#answer + 1] = wait
end

for key in pairs(changed) do
  local state, text, finish = known[key], nil, nil
  if state[1] == 1 then
    text = string.format('r:%.0f:%.0f:%.0f', state[2], state[3], state[4])
    finish = state[2] + ceil(state[3] / state[4])
  else
    text = string.format('c:%d:%.0f:%.0f:%.0f', state[5], state[2], state[3], state[4])
    local _, after = window_at(state[5], state[6])
    finish = after
    if state[5] >= 3 then
      redis.call('SADD', KEYS[1], KEYS[key])
      redis.call('PEXPIRE', KEYS[1], 5356800000)
    end
  end
  redis.call('SET', KEYS[key], text, 'PX', string.format('%.0f', ceil(max(0, finish - now) / 1000) + 1000))
end
return cmsgpack.pack(answer)
