"""What the scripts stand on, a room per thing.

flags, torch_flags   what a command line may say
data                 the data sets that the flags ask for
numpy_machine        where NumPy computes
torch_machine        where PyTorch computes: device, precision, and the processes that train together
hardware             what the hardware multiplies in silicon
convolution          a faster product for small images
augmentation         images that are never the same twice
optimisers           update rules, learning-rate schedules, the moving average of the weights
accuracy             the share of predictions that are right
evaluation           loss, accuracy and logits of a whole data set
run                  one training run: batches, history, checkpoints, summary
history, progress    what a run has measured, and what it costs
signals              what ends a run early, without loss
folder               the run folder on disk, and its lock
checkpoints          the state of a run on disk
provenance           the command, versions and hardware that a run is repeated with
plots, tensorboard   curves, confusion matrix, mistakes, filters
networks             trained networks that compute as their runs did
files                writing so that nothing half written is left, reading so that nothing runs
script               exit statuses and one-line messages
errors               what goes wrong, by whose fault
"""
