-- The record that a delivery's body is made from: that of a prediction or of a batch.
local function source_key(kind, subject_id)
  return kind == 'batch' and batch_key(subject_id) or prediction_key(subject_id)
end

-- A name that the subject's id is known by after the record's end.
local function source_gone_key(kind, subject_id)
  return kind == 'batch' and gone_batch_key(subject_id) or gone_key(subject_id)
end
