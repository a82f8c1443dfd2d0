-- Health of a ReconstructionRun for Argo CD: `resource.customizations.health.rehearsal.dev_ReconstructionRun` in argocd-cm.
-- A status that the operator has not written yet, or wrote of an earlier spec, says nothing of this one.
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "waits for the operator to look at this spec"}
end

local holds = {}
for _, condition in ipairs(status.conditions) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
end

local function verdict(health, condition)
  return {status = health, message = condition.reason .. ": " .. condition.message}
end

if holds.Stalled or holds.Failed then
  return verdict("Degraded", holds.Stalled or holds.Failed)
elseif holds.Suspended then
  return verdict("Suspended", holds.Suspended)
elseif holds.Complete then
  return verdict("Healthy", holds.Complete)
elseif holds.Reconciling then
  return verdict("Progressing", holds.Reconciling)
end
return {status = "Progressing", message = status.summary or ""}
