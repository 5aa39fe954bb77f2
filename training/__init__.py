"""What the scripts stand on, a room per thing.

flags, torch_flags   what a command line may say
data                 the data sets that the flags ask for
numpy_machine        where NumPy computes
torch_machine        where PyTorch computes: device, precision, and the processes that train together
processes, torchrun  the process that trains alone, and those that train together
hardware             the device of a process, and what it multiplies in silicon
convolution          a faster product for small images
batches              batches made on the device, from images that lie there as bytes
augmentation         images that are never the same twice
optimisers           update rules, learning-rate schedules, the moving average of the weights
accuracy             the share of predictions that are right
evaluation           loss, accuracy and logits of a whole data set
run                  one training run: the steps that are left, and what is due after each
measurements         what a run measures: its steps and its evaluations
history, progress    what it has measured, and what it costs
signals              what ends a run early, without loss
storage              a run on disk
folder, checkpoints  the run folder and its lock, and the state of the run in it
provenance           the command, versions and hardware that a run is repeated with
results              what a finished run leaves behind
plots, tensorboard   curves, confusion matrix, mistakes, filters
networks             trained networks that compute as their runs did
files                writing so that nothing half written is left, reading so that nothing runs
script               exit statuses and one-line messages
errors               what goes wrong, by whose fault
"""
